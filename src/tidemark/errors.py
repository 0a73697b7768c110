"""The few kinds of trouble, named for what the caller can do about them. Expected refusals are values, not errors."""


class TidemarkError(Exception):
    """Root: everything we raise on purpose."""


class InputError(TidemarkError, ValueError):
    """The caller passed what no caller may pass. Its text is the one line that the user reads (see `describe`)."""


class DecodeError(TidemarkError):
    """These bytes will never parse; do not retry. Carries the reason code and what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class UnavailableError(TidemarkError):
    """An outside service did not answer; a retry may help."""


class UnknownOutcomeError(TidemarkError):
    """The broker may or may not have it; reconcile before anything else."""


SHOWN_CHARS_MAX = 120
SECRET_MARKS = ("secret", "password", "token", "apikey", "api_key", "credential")


def describe(source: str, field: str, got: object, expected: str, hint: str = "") -> str:
    """One line in the one style of all bad-input messages; values of secret-looking fields are not echoed."""
    shown = "<redacted>" if any(mark in field.lower() for mark in SECRET_MARKS) else _short(got)
    tail = f"; {hint}" if hint else ""
    return f"{source}: {field}: got {shown}; expected {expected}{tail}"


def bad_input(source: str, field: str, got: object, expected: str, hint: str = "") -> InputError:
    """The InputError whose text is `describe(...)`."""
    return InputError(describe(source, field, got, expected, hint))


def _short(got: object) -> str:
    text = got if isinstance(got, str) else repr(got)
    text = "".join(char if char.isprintable() else "?" for char in text) or "nothing"
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 1] + "…"
