"""Bundle three.js for the page of `hpsvid view`: `python -m tools.viewer.bundle`.

Fetches three (MIT) and esbuild (MIT) with npm into a temporary folder and writes one minified file,
hpsvid/viewer/three.min.js, with three's licence at its head. The page needs no network.
"""

import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[1] / "hpsvid" / "viewer" / "three.min.js"
THREE, ESBUILD = "0.187.0", "0.28.2"


def main() -> None:
    """Write the bundle."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "entry.js").write_text((HERE / "entry.js").read_text())
        subprocess.run(
            ["npm", "install", "--silent", f"three@{THREE}", f"esbuild@{ESBUILD}"],
            cwd=folder, check=True,
        )  # fmt: skip
        licence = (Path(folder) / "node_modules" / "three" / "LICENSE").read_text().strip()
        subprocess.run(
            ["npx", "esbuild", "entry.js", "--bundle", "--minify", "--format=iife",
             "--global-name=THREE", "--legal-comments=none", "--charset=ascii", "--outfile=out.js",
             f"--banner:js=/* three.js {THREE}\n{licence}\n*/"],
            cwd=folder, check=True,
        )  # fmt: skip
        TARGET.write_text((Path(folder) / "out.js").read_text().replace("</script", "<\\/script"))
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
