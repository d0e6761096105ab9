"""Make the development certificates and the secrets of a new project, and say what comes next.

Both come from the project's own scripts, which leave alone what exists already: a project that is
generated again keeps its secrets. Nothing of them passes through Cookiecutter, which stores its
answers on disk.

Standard library only, Python 3.10 or newer: it runs with whatever Python runs Cookiecutter.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

SCRIPTS = ("scripts/certs", "scripts/env")

DONE = """
Your project is ready. Made for this machine only, and ignored by git:
  .local/certs   a development CA, and a certificate for every service
  .env           random secrets of the local stack

Next:
  cd {folder}
  docker compose up     (or make up, which works without Docker too)

and open https://localhost:8443
"""


def main() -> int:
    if not shutil.which("sh"):
        print("sh, the POSIX shell, is not on PATH. Generate in a Unix shell.", file=sys.stderr)
        return 1
    for script in SCRIPTS:
        # The script says on stderr what went wrong; its progress would only be noise here.
        if subprocess.run(["sh", script], stdout=subprocess.DEVNULL).returncode != 0:
            return 1
    project = Path.cwd()
    here = Path(os.environ.get("PWD", ""))
    print(DONE.format(folder=shlex.quote(project.name if project.parent == here else str(project))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
