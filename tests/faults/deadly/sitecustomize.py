"""Put on PYTHONPATH by a test: decoding a file that begins with DEADLY ends the process."""

import os
import signal
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder


class _Finder(MetaPathFinder):
    """Wraps `decode` as soon as its module is loaded."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name != "clip_scoring.images.decode":
            return None
        spec = PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def load(module):  # type: ignore[no-untyped-def]
            execute(module)
            decode = module.decode

            def deadly(body, *args):  # type: ignore[no-untyped-def]
                if bytes(body[:6]) == b"DEADLY":
                    os.kill(os.getpid(), signal.SIGSEGV)
                return decode(body, *args)

            module.decode = deadly

        spec.loader.exec_module = load
        return spec


sys.meta_path.insert(0, _Finder())
