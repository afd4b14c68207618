"""A run's settings as a file: --config FILE stands for flags ahead of the command line's own."""

from pathlib import Path

from corruptions.command_line import hint_for
from dataset.filelists import FILELIST_DIR, find_lists
from dataset.specs import ARRAYS
from sharpdro.command_line.flags import FLAGS, FOUND, Flag, create_parser
from sharpdro.errors import RunError
from sharpdro.methods.own import method_spec
from sharpdro.methods.specs import METHOD_SETTINGS, OWN_SETTINGS, variant
from sharpdro.run_folder.reading import read_json
from sharpdro.run_folder.settings import upgraded

# What settings.json says of a start or of a checkpoint that was measured: nothing is chosen by it.
_NO_CHOICE = {"resume", "dry_run", "epoch", "trained_with", "checkpoint_crc32"}
_NO_CHOICE |= {*FOUND, "data_sink"}  # how earlier versions fed batches


def config_flags(path: Path, given: dict) -> dict[str, list[str]]:
    """What a file says, as text of the command line, by the flags' names.

    null stands for a flag that is not given. A run that went by lists has kept them beside its
    settings.json, and they are --filelist_dir then.

    Args:
        path: a run's settings.json, or a JSON object of flags {name: value}.
        given: what the command line itself names.

    Raises:
        RunError: the file cannot be read, or names no flag, or a value that its flag does not take.
    """
    remedy = "name a run's settings.json, or a JSON object of flags"
    settings = read_json(path, _settings_of, remedy)
    kept = path.parent / FILELIST_DIR.name
    if "num_per_class" in settings and settings["num_per_class"] is None and find_lists(kept):
        settings |= {"filelist_dir": str(kept)}
    flags = {}
    for name, value in settings.items():
        if name not in FLAGS and name not in _NO_CHOICE:
            hint = hint_for(name, FLAGS, "see --help")
            raise RunError(f"--config {path}: there is no flag {name!r:.80}: {hint}")
        if value is not None and name not in _NO_CHOICE:
            flags[name] = _text(path, FLAGS[name], value)
    parser = create_parser()
    parser.error = _refusing(path)
    parser.parse_args([word for words in flags.values() for word in words])
    replaced = _replaced(settings, given)
    return {name: words for name, words in flags.items() if name not in replaced}


def _replaced(settings: dict, given: dict) -> set[str]:
    """What a file says of a method or network when the command line itself chooses that.

    Its --distribution_agnostic and --method_settings are one choice with its --method; settings
    that the chosen method does not have go, too.
    """
    replaced = set()
    if given.get("model", "wideresnet") != "wideresnet":
        replaced |= {"depth", "widen_factor"}
    if not given.keys() & {"method", "distribution_agnostic"}:
        return replaced
    if "method" in given:
        replaced |= {"method", "distribution_agnostic", OWN_SETTINGS}
    choice = {name: value for name, value in settings.items() if name not in replaced} | given
    method = choice.get("method", FLAGS["method"].default)
    is_agnostic = method == "sharpdro" and choice.get("distribution_agnostic", False)
    spec = method_spec(variant(method, is_agnostic))
    if not spec.perturbs:
        replaced.add("local_perturbation")
    return replaced | METHOD_SETTINGS - spec.flag_names


def _settings_of(content) -> dict:
    settings = content.get("settings", content) if type(content) is dict else content
    if type(settings) is not dict:
        raise ValueError("it holds no JSON object of flags")
    settings = upgraded(settings)
    if settings.get("dataset") == ARRAYS:
        settings.pop("side", None)  # what the run has found
    return settings


def _text(path: Path, flag: Flag, value) -> list[str]:
    """A flag with its value as words of the command line."""
    if flag.is_switch != (type(value) is bool):
        expected = "true or false" if flag.is_switch else "its value"
        raise RunError(f"--config {path}: {flag.name} is {value!r:.80}: give {expected}")
    if flag.is_switch:
        off = [f"--no-{flag.name}"] if flag.default else []
        return [f"--{flag.name}"] if value else off
    takes_several = "nargs" in flag.options
    values = value if takes_several and type(value) is list and value else [value]
    if not all(type(v) in (str, int, float) for v in values):
        raise RunError(f"--config {path}: {flag.name} is {value!r:.80}: give its value")
    if takes_several:
        if any(str(v).startswith("-") for v in values):
            raise RunError(f"--config {path}: {flag.name} is {value!r:.80}: give its value")
        return [f"--{flag.name}", *map(str, values)]
    return [f"--{flag.name}={value}"]


def _refusing(path: Path):
    def refuse(message):
        raise RunError(f"--config {path}: {message}")

    return refuse
