"""Where a GLUE task's data lie: a folder with its original files, or the Hub."""

from pathlib import Path

from evolving_attention.errors import InputError
from evolving_attention.tasks.family import folder_name
from evolving_attention.tasks.glue_files import read_glue_file
from evolving_attention.tasks.glue_hub import load_from_hub
from evolving_attention.tasks.glue_tasks import GLUE, GlueDescription, describe
from evolving_attention.tasks.text_data import LabelledTexts

__all__ = ["find_task", "load_dev", "load_test", "load_train"]


def find_task(source: str, archive: str | None = None) -> tuple[GlueDescription, Path | None]:
    """Return the task that ``data.train`` means, and its folder; None: it comes from the Hub.

    Parameters
    ----------
    source : str
        A folder that has a task's name and holds its files, or a task's name alone.
    archive : str, optional
        The folder of the tasks' folders, in which a name is looked up.

    Raises
    ------
    InputError
        There is no such task or folder.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return describe(folder_name(folder)), folder
    if folder.is_file():
        raise InputError(f"{source} is a file: name the folder of a GLUE task that it lies in.")
    if folder.name != source:
        raise InputError(f"there is no folder {source} with the files of a GLUE task.")
    task = describe(source)
    if archive is None:
        return task, None
    places = Path(archive).expanduser()
    if not places.is_dir():
        raise InputError(f"there is no folder {archive} with the folders of GLUE's tasks.")
    for place in sorted(places.iterdir()):
        if place.is_dir() and _is_of(place.name, task):
            return task, place
    raise InputError(f"{archive} holds no folder {task.name}.")


def _is_of(name: str, task: GlueDescription) -> bool:
    try:
        return describe(name) is task
    except InputError:  # a folder of something else
        return False


def load_train(source: str, archive: str | None = None) -> LabelledTexts:
    """Load the training part of a task; parameters are those of :func:`find_task`."""
    task, folder = find_task(source, archive)
    if task.train is None:
        raise InputError(
            f"{task.name} has no training part: train {task.borrows} and predict {task.name}."
        )
    if folder is None:
        return load_from_hub(task, "train")
    return read_glue_file(folder / task.train, task, labelled=True)


def load_dev(source: str, archive: str | None = None) -> LabelledTexts | None:
    """Load the labelled part that judges; None where the folder has none."""
    task, folder = find_task(source, archive)
    if folder is None:
        return LabelledTexts.joined(
            {
                part: load_from_hub(task, f"validation_{part}" if part else "validation")
                for part in task.dev
            }
        )
    paths = {part: folder / name for part, name in task.dev.items()}
    if not any(path.is_file() for path in paths.values()):
        return None
    return LabelledTexts.joined(
        {part: read_glue_file(path, task, labelled=True) for part, path in paths.items()}
    )


def load_test(source: str, archive: str | None = None) -> dict[str, LabelledTexts]:
    """Load the unlabelled parts of a task, and of those that borrow its networks.

    Returns
    -------
    dict
        The parts that there are, by the file that GLUE's server takes for them.
    """
    task, folder = find_task(source, archive)
    found: dict[str, LabelledTexts] = {}
    for each in (task, *(other for other in GLUE.values() if other.borrows == task.name)):
        for submission, name in each.test_files.items():
            if folder is None:
                part = Path(name).stem if each is task else "test"
                found[submission] = load_from_hub(each, part)
                continue
            place = folder if each is task else _beside(folder, each)
            if place is not None and (place / name).is_file():
                found[submission] = read_glue_file(place / name, each)
    return found


def _beside(folder: Path, task: GlueDescription) -> Path | None:
    places = sorted(folder.absolute().parent.iterdir())
    return next((place for place in places if place.is_dir() and _is_of(place.name, task)), None)
