"""`python -m sharpdro.doctor`: what there is to train with, what is missing, what to do about it.

It imports none of what may be broken; what it asks MindSpore, it asks in a process of its own.
"""
