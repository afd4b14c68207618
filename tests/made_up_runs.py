"""Run directories made by hand, and scripts/report.py on them."""

import importlib.util
import json

from running import ROOT

SPEC = importlib.util.spec_from_file_location("report", ROOT / "scripts" / "report.py")
report = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(report)

EPOCHS = (1, 2)


def write_run(log_dir, accuracy, finished=True, commit="a" * 40, **settings):
    """A run of few severities: `accuracy` at 0, half of it above; 0.01 at the last epoch."""
    log_dir.mkdir(exist_ok=True)
    settings = {"method": "erm", "seed": 0, "desc": "run", "num_severity": 1, **settings}
    folder = log_dir / f"run{len(list(log_dir.iterdir()))}"
    folder.mkdir()
    content = {"settings": settings, "environment": {"git_commit": commit}}
    (folder / "settings.json").write_text(json.dumps(content))
    values = {"0": accuracy, **{str(s + 1): accuracy / 2 for s in range(settings["num_severity"])}}
    values |= {"mean": 0.75 * accuracy, "worst": accuracy / 2}
    best = {"epoch": 1, "test": {k: {"accuracy": v} for k, v in values.items()}}
    last = {"epoch": 2, "test": {k: {"accuracy": 0.01} for k in values}}
    summary = {"finished": finished, "total_epoch": 200, "best": best, "last": last}
    (folder / "summary.json").write_text(json.dumps(summary))
    lines = [f"{e},{s},1,{v * e / 2},9" for e in EPOCHS for s, v in values.items()]
    (folder / "val.csv").write_text(
        "epoch,severity,loss,accuracy,count\n" + "\n".join(lines) + "\n"
    )
    if settings["method"] in ("sharpdro", "groupdro", "eiil"):
        lines = [
            f"{e},{step},{1 - e * step / 10},{e * step / 10}" for e in EPOCHS for step in (1, 2)
        ]
        text = "epoch,step,weight_0,weight_1\n" + "\n".join(lines) + "\n2,"  # torn by a kill
        (folder / "train.csv").write_text(text)
    return folder


def run_report(capsys, log_dir, *flags):
    """Lines of the terminal, errors."""
    assert report.main([str(log_dir), *flags]) == 0
    found = capsys.readouterr()
    return found.out.splitlines(), found.err
