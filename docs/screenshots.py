"""Take the docs' pictures of the report and of the local page: `make screenshots RUN=runs/voc-fcn8s`.

Report and page are made by the checkout that this file lies in. Each is taken 1280 and 390 pixels wide, in Chromium (the
extra `browser`, and `apt-get install chromium`).
"""

import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = [sys.executable, "-m", "repro"]  # run in ROOT, it is the checkout's, whatever is installed
WIDTHS = {1280: 1000, 390: 844}  # and heights


def report(page, html):
    page.goto(html.as_uri())
    page.get_by_role("button", name="8s").click()
    page.locator("section:has(.all)").evaluate("section => section.scrollIntoView()")


def local(page, address, photograph):
    page.goto(address)
    page.locator("#file").set_input_files(photograph)
    page.locator(".result").wait_for()


def main(run):
    html = run / "report.html"
    subprocess.run([*PROGRAM, "report", run, "-o", html], cwd=ROOT, check=True)
    server = subprocess.Popen([*PROGRAM, "serve", run, "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        address, photograph = server.stdout.readline().split()[0], sorted((run / "pictures").glob("*.jpg"))[0]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for width, height in WIDTHS.items():
                for name, show, *what in ("report", report, html), ("serve", local, address, photograph):
                    page = browser.new_page(viewport={"width": width, "height": height})
                    show(page, *what)
                    path = ROOT / "docs" / f"{name}-{width}.png"
                    page.screenshot(path=path)
                    Image.open(path).convert("P", palette=Image.Palette.ADAPTIVE).save(path, optimize=True)
                    page.close()
            browser.close()
    finally:
        server.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
