"""Opens the pages of `mla report` and the pictures of `mla draw` and `mla plot` in Chromium, at two widths, light and dark:
nothing is asked for from elsewhere, nothing is wider than the page, no text covers another or is cut, no picture is shown
so small that its letters cannot be read.

    python tests/parity/pages.py --mla build/mla [--keep DIR]

Needs Chromium (Debian's package chromium). --keep leaves the pages, and what they look like as PNG. Exit code 1 when any
page has a fault.
"""

import argparse
import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile

WIDTHS = (1200, 400)
THEMES = ("light", "dark")
PICTURES = {"cache": [], "flow": ["--measure"], "compare": [], "rope": [], "spectrum": [],
            "attention": ["--text", "You may convey a work based on the Program"]}

# Faults of a page. A text's place is that of its letters; what is folded away has none. What lies in something that can
# be scrolled is not cut.
PAGE_FAULTS = """(() => {
  const faults = [], texts = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const scrolls = element => element && element !== document.body &&
      (['auto', 'scroll'].includes(getComputedStyle(element).overflowX) || scrolls(element.parentElement));
  const clips = element => element && (['hidden', 'clip'].includes(getComputedStyle(element).overflowX) ? element :
      clips(element.parentElement));
  for (let node; (node = walk.nextNode());) {
    if (!node.data.trim() || !node.parentElement.checkVisibility()) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (!box.width) continue;
      texts.push({box, text: node.data.trim().slice(0, 40), node});
      if (!scrolls(node.parentElement) && (box.left < 0 || box.right > innerWidth + 1)) faults.push(`cut: ${node.data}`);
      const frame = clips(node.parentElement);
      if (frame && box.right > frame.getBoundingClientRect().right + 1) faults.push(`cut: ${node.data}`);
    }
  }
  OVERLAPS
  if (document.documentElement.scrollWidth > innerWidth)
    faults.push(`${document.documentElement.scrollWidth} pixels wide`);
  for (const image of document.images) {
    if (!image.complete || !image.naturalWidth) faults.push(`no picture: ${image.alt}`);
    const scale = image.getBoundingClientRect().width / image.naturalWidth;
    if (scale < 0.65) faults.push(`picture at ${scale.toFixed(2)} of its size: ${image.alt}`);
  }
  return {faults, texts: texts.length, images: [...document.images].map(image => image.currentSrc)};
})()"""

# Faults of a picture: texts of gnuplot's are elements, those of cairo's are groups of glyphs.
PICTURE_FAULTS = """(() => {
  const faults = [], texts = [];
  const frame = document.documentElement.getBoundingClientRect();
  const groups = [...document.querySelectorAll('g')].filter(g => g.children.length &&
      [...g.children].every(child => (child.getAttribute('xlink:href') || '').startsWith('#glyph')));
  for (const node of [...document.querySelectorAll('text'), ...groups]) {
    const box = node.getBoundingClientRect();
    const text = (node.textContent.trim() || `glyphs at ${Math.round(box.left)}, ${Math.round(box.top)}`).slice(0, 40);
    if (!box.width) continue;
    texts.push({box, text, node});
    if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
      faults.push(`cut: ${text}`);
  }
  OVERLAPS
  return {faults, texts: texts.length, images: []};
})()"""

OVERLAPS = """texts.forEach((a, i) => texts.slice(i + 1).forEach(b => {
    const wide = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
    const high = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
    if (a.node !== b.node && wide > 1 && high > 2) faults.push(`"${a.text}" covers "${b.text}"`);
  }));"""


class Browser:
    """Chromium without a window, driven by its own protocol over two pipes: JSON texts that end with a zero."""

    def __init__(self, profile):
        to_browser, self.out = os.pipe()
        self.incoming, from_browser = os.pipe()
        ends = os.dup(to_browser), os.dup(from_browser), os.dup(to_browser), os.dup(from_browser)
        self.process = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--remote-debugging-pipe", f"--user-data-dir={profile}"],
            preexec_fn=lambda: (os.dup2(ends[2], 3), os.dup2(ends[3], 4)), close_fds=False, stderr=subprocess.DEVNULL)
        self.buffer, self.number, self.session, self.requests = b"", 0, {}, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        self.call("Page.enable")
        self.call("Network.enable")

    def message(self):
        while b"\0" not in self.buffer:
            bytes_ = os.read(self.incoming, 1 << 16)
            if not bytes_:
                sys.exit("Chromium has ended")
            self.buffer += bytes_
        text, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(text)
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        return message

    def call(self, method, **params):
        self.number += 1
        os.write(self.out, json.dumps({"id": self.number, "method": method, "params": params, **self.session}).encode() + b"\0")
        while True:
            message = self.message()
            if message.get("id") == self.number:
                if "error" in message:
                    sys.exit(f"{method}: {message['error']}")
                return message["result"]

    def open(self, path, width, theme):
        self.requests.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self.call("Page.navigate", url=path.as_uri())
        while self.message().get("method") != "Page.loadEventFired":
            pass

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            sys.exit(f"{result['exceptionDetails']}")
        return result["result"]["value"]

    def picture(self, path, width):
        height = min(self.value("Math.ceil(document.documentElement.getBoundingClientRect().height)"), 8000)
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]))

    def close(self):
        self.call("Browser.close")
        self.process.wait()


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command}: {done.stderr}")


def settings(*pairs):
    return [word for pair in pairs for word in ("--set", pair)]


def make(mla, folder):
    """Runs and a comparison, their pages, and all pictures of one of the models. Returns the paths of what is to be opened."""
    common = settings("data.source=/usr/share/common-licenses/GPL-3", "data.vocab_size=400", "data.held_out=0.1",
                      "model.hidden_size=32", "model.num_hidden_layers=2", "model.num_attention_heads=4",
                      "model.intermediate_size=48", "train.sequence=32", "train.batch=4", "train.eval_every=20",
                      "optim.warmup_steps=5")
    long = folder / "a-run-whose-name-says-everything-about-it-so-that-there-is-no-room-for-it"
    for out, seed in ((folder / "run", 1), (long, 2)):
        run(mla, "train", "quickstart", *common, *settings("train.steps=90", f"train.seed={seed}"), "--out", out)
    run(mla, "train", "--resume", folder / "run", "--set", "train.steps=120")
    run(mla, "compare", "mha-small", *common, *settings("train.steps=20"), "--seeds", 2, "--lr", "0.001,0.002", "--decode",
        "16,24", "--out", folder / "comparison")
    run(mla, "report", folder / "run", "--out", folder / "run.html", "--sample", "You may <not> convey", "--sample", "This")
    run(mla, "report", folder / "run", long, "--out", folder / "runs.html")
    run(mla, "report", folder / "comparison", "--out", folder / "comparison.html")
    run(mla, "plot", folder / "run", long, "--out", folder / "plot.svg")
    paths = [folder / name for name in ("run.html", "runs.html", "comparison.html", "plot.svg")]
    for name, options in PICTURES.items():
        for theme in THEMES:
            paths.append(folder / f"{name}-{theme}.svg")
            run(mla, "draw", name, folder / "run", *options, "--theme", theme, "--out", paths[-1])
    return paths


def check_picture(browser, path, theme):
    browser.open(path, WIDTHS[0], theme)
    found = browser.value(PICTURE_FAULTS.replace("OVERLAPS", OVERLAPS))
    browser.picture(path.with_suffix(".png"), WIDTHS[0])
    return found["faults"] if found["texts"] else ["no text"]


def check_key(path):
    """gnuplot leaves out a key that it finds no room for."""
    picture = path.read_text()
    return [f"{text} is not in the key" for text in ("run", "a-run-whose-…-room-for-it", "held out")
            if f"<text>{text}</text>" not in picture]


def check_page(browser, path, width, theme):
    browser.open(path, width, theme)
    found = browser.value(PAGE_FAULTS.replace("OVERLAPS", OVERLAPS))
    browser.picture(path.with_name(f"{path.stem}-{width}-{theme}.png"), width)
    faults = found["faults"] + [f"asks for {url}" for url in browser.requests
                                if url != path.as_uri() and not url.startswith("data:")]
    pictures = [url for url in found["images"] if url.startswith("data:")] if width == WIDTHS[0] else []
    for i, url in enumerate(pictures):
        picture = path.with_name(f"{path.stem}-{theme}-{i + 1}.svg")
        picture.write_bytes(base64.b64decode(url.split(",", 1)[1]))
        key = check_key(picture) if (path.stem, i) == ("runs", 0) else []
        faults += [f"picture {i + 1}: {fault}" for fault in check_picture(browser, picture, theme) + key]
    return faults if found["texts"] else faults + ["no text"]


def check(browser, path):
    """The number of faults."""
    faults = []
    if path.suffix == ".svg":
        faults = check_picture(browser, path, "light") + (check_key(path) if path.stem == "plot" else [])
    else:
        for width in WIDTHS:
            for theme in THEMES:
                faults += [f"{width} {theme}: {fault}" for fault in check_page(browser, path, width, theme)]
    print(f"{path.name}: {len(faults)} faults", *faults[:20], sep="\n    ")
    return len(faults)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mla", required=True, type=pathlib.Path, help="the mla command")
    parser.add_argument("--keep", type=pathlib.Path, help="leave the files in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, tempfile.TemporaryDirectory() as profile:
        folder = (options.keep or pathlib.Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        paths = make(options.mla.resolve(), folder)
        browser = Browser(profile)
        faults = sum(check(browser, path) for path in paths)
        browser.close()
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
