"""Whether this machine and this Python can run fedvssl: what `tools/doctor.py env` prints.

Importing this package imports none of those it examines; they are tried in processes of their own.
"""

from fedvssl.installation.check import check_installation, describe_installation

__all__ = ['check_installation', 'describe_installation']
