"""What can go wrong with a Metal kernel, before it runs and while it does."""


class MetalError(RuntimeError):
    """A Metal kernel cannot be run, or did not run well."""


class MetalSyntaxError(MetalError):
    """The source does not compile. The message shows the line of the .metal file, with a caret."""


class UnsupportedMetal(MetalSyntaxError):
    """The source uses a part of Metal that cannot be run here; the message names it."""


class MetalFault(MetalError):
    """A checked run found something wrong.

    Attributes:
        findings: list of Finding, in the order in which they were met.
    """

    def __init__(self, findings):
        self.findings = list(findings)
        count = len(self.findings)
        title = "1 finding" if count == 1 else f"{count} findings"
        super().__init__("\n\n".join([f"The checked run has {title}:", *map(str, self.findings)]))
