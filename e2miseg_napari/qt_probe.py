"""Child process of `e2miseg doctor`: tries Qt, or reads the plugin's manifest.

Qt ends the process where a library or the display is missing, hence a child.
"""

import json
import sys

__all__ = ["main"]

GL_RENDERER = 0x1F01


def main() -> None:
    """Print one JSON object about ``qt`` or ``plugin``, as the argument says."""
    facts = _plugin() if sys.argv[1:] == ["plugin"] else _qt()
    print(json.dumps(facts), flush=True)  # noqa: T201 - how a child answers


def _qt() -> dict[str, object]:
    import qtpy
    from qtpy.QtGui import QOffscreenSurface, QOpenGLContext
    from qtpy.QtWidgets import QApplication

    application = QApplication([])
    surface, context = QOffscreenSurface(), QOpenGLContext()
    surface.create()
    opengl = context.create() and context.makeCurrent(surface)
    renderer = context.functions().glGetString(GL_RENDERER) if opengl else ""
    return {
        "binding": qtpy.API_NAME,
        "version": qtpy.QT_VERSION,
        "platform": application.platformName(),
        "opengl": bool(opengl),
        "renderer": str(renderer),
    }


def _plugin() -> dict[str, object]:
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution("e2miseg-napari")
    return {"commands": len(manifest.contributions.commands or [])}


if __name__ == "__main__":
    main()
