"""`e2miseg worker`: the process that computes for the napari window."""

__all__ = ["worker"]


def worker() -> None:
    """Serve JSON commands on standard input (started by the napari plugin).

    One JSON object a line, both ways; it ends when its input ends.
    """
    from e2miseg_core.worker import main

    main()
