"""The viewer's process never imports torch: it would cost time, memory, and crashes."""

import subprocess
import sys
import textwrap

SCRIPT = """
    import importlib, pkgutil, sys
    import e2miseg_napari

    for module in pkgutil.walk_packages(e2miseg_napari.__path__, "e2miseg_napari."):
        importlib.import_module(module.name)

    import napari
    from e2miseg_napari.panels.main import MainPanel
    from e2miseg_napari.samples import open_phantom

    viewer = napari.Viewer(show=False)
    panel = MainPanel(viewer)
    viewer.window.add_dock_widget(panel)
    for layer in open_phantom():
        viewer.add_layer(napari.layers.Layer.create(*layer))
    assert panel.predict.volume.choice is not None
    heavy = {"torch", "monai", "timm", "triton", "torchvision"} & set(sys.modules)
    assert not heavy, heavy
    viewer.close()
    print("no torch")
"""


def test_nothing_of_the_plugin_imports_torch():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert "no torch" in done.stdout, done.stderr[-3000:]
