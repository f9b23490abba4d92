import numpy as np

#: Head of a file of series of two steps.
ARFF = "@relation made\n@attribute a1 numeric\n@attribute a2 numeric\n@attribute t {a,b}\n@data\n"


#: Two series of three channels and four steps, and their targets.
X = np.arange(24.0).reshape(2, 3, 4)
Y = np.array([0, 1])


def write(path, text):
    path.write_text(text)
    return path


def ts(*rows, equal=True, univariate=True, target="classlabel true a b"):
    """The text of a .ts file: a header that fits the rows."""
    header = {
        "problemName": "made",
        "timestamps": "false",
        "missing": str(any("?" in row for row in rows)).lower(),
        "univariate": str(univariate).lower(),
        "equalLength": str(equal).lower(),
    }
    lines = [f"@{name} {value}" for name, value in header.items()]
    return "\n".join([*lines, f"@{target}", "@data", *rows]) + "\n"


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path
