"""Put on PYTHONPATH by a test: decoding a file that begins with DEADLY ends the process."""

import os
import signal
import sys
from importlib.abc import MetaPathFinder


class _Finder(MetaPathFinder):
    """Wraps `decode` as the loader sees it, once the loader gets imported."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name != "clip_scoring.images.loader":
            return
        sys.meta_path.remove(self)
        from clip_scoring.images import decode as module

        decode = module.decode

        def deadly(body: bytes, geometry: object) -> object:
            if body.startswith(b"DEADLY"):
                os.kill(os.getpid(), signal.SIGSEGV)
            return decode(body, geometry)

        module.decode = deadly
        return


sys.meta_path.insert(0, _Finder())
