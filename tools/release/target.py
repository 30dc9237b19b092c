"""What a release is built for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """One Debian release on one architecture. Both run on the C library of the oldest: the compiler is Debian 12's."""

    debian: int
    suite: str
    python: str
    arch: str
    """Debian's word: amd64, arm64."""
    machine: str
    """The kernel's word: x86_64, aarch64."""

    @property
    def name(self) -> str:
        return f"debian{self.debian}-{self.arch}"

    @property
    def platforms(self) -> tuple[str, ...]:
        """Wheel tags that run here: glibc 2.36 (Debian 12) and older; the newest first."""
        return tuple(f"manylinux{tag}_{self.machine}" for tag in ("_2_35", "_2_34", "_2_28", "2014"))


_ARCHITECTURES = (("amd64", "x86_64"), ("arm64", "aarch64"))
_DEBIANS = ((12, "bookworm", "3.11"), (13, "trixie", "3.13"))
TARGETS = tuple(Target(*debian, *architecture) for debian in _DEBIANS for architecture in _ARCHITECTURES)
