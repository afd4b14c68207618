"""Loss and accuracy per severity, and what is made of them."""
