"""`python -m e2miseg_napari.demo`: the sample, the panel, a starter model, ready."""

import napari

from e2miseg_napari.panels.main import MainPanel

__all__ = ["main", "open_demo"]

_PLUGIN = "e2miseg-napari"
_STARTER = "phantom-lesions"
_SIZE = (1400, 900)  # pixels


def open_demo() -> tuple[napari.Viewer, MainPanel]:
    """Open a viewer as the demo shows it."""
    viewer = napari.Viewer(title="E2MISeg")
    viewer.open_sample(_PLUGIN, "phantom")
    viewer.canvas.overlays.scale_bar.visible = True
    _, panel = viewer.window.add_plugin_dock_widget(_PLUGIN, "E2MISeg")
    if not isinstance(panel, MainPanel):
        msg = f"napari made {type(panel)} of the plugin's panel"
        raise TypeError(msg)
    if not panel.predict.model.choose(_STARTER):
        entry = panel.predict.model.entry
        instead = "add one" if entry is None else f"{entry.name} is chosen instead"
        panel.message.show_notice(f"The model {_STARTER} is not here: {instead}.")
    viewer.window.resize(*_SIZE)
    viewer.reset_view()  # the dock has taken some of the room
    return viewer, panel


def main() -> None:
    """Open the demo and stay until its window is closed."""
    open_demo()
    napari.run()


if __name__ == "__main__":
    main()
