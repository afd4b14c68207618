"""What an examination finds, and how it is told."""

import textwrap
from dataclasses import dataclass, field

_WIDTH, _LINE = 16, 100


@dataclass
class Findings:
    """Facts by topic; problems, which end with what to do.

    Args:
        facts: topic and text.
        hindrances: what keeps any training from working.
        advice: what makes it slow, or something optional impossible.
    """

    facts: list[tuple[str, str]] = field(default_factory=list)
    hindrances: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    def add(self, topic: str, text: str) -> None:
        """Note a fact."""
        self.facts.append((topic, text))

    def fact_lines(self) -> list[str]:
        """The facts for a terminal."""
        return [line for topic, text in self.facts for line in _entry(topic, text)]

    def lines(self) -> list[str]:
        """All of it for a terminal, the problems last."""
        lines = self.fact_lines()
        for topic, problems in (("to mend", self.hindrances), ("to improve", self.advice)):
            texts = [f"{number}. {text}" for number, text in enumerate(problems, 1)] or ["nothing"]
            for number, text in enumerate(texts):
                lines += _entry("" if number else topic, text)
        return lines


def _entry(topic: str, text: str) -> list[str]:
    wrapped = textwrap.wrap(
        _printable(text), _LINE - _WIDTH, break_long_words=False, break_on_hyphens=False
    )
    return [f"{topic if n == 0 else '':<{_WIDTH}}{line}" for n, line in enumerate(wrapped or [""])]


def _printable(text: str) -> str:
    """The text in one line, with backslashes for what cannot be printed."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
