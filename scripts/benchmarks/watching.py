"""Memory of a process and of those that it starts."""

import threading
import time

import psutil


class Watch:
    """The largest memory that this process and its children had together, in bytes.

    `resident` counts mapped files as far as they are in memory, pages that several processes share
    once for each; `own` leaves out what is mapped from files.
    """

    def __init__(self):
        self.resident = self.own = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        me = psutil.Process()
        while True:
            resident = own = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    memory = process.memory_info()
                except psutil.NoSuchProcess:
                    continue
                resident, own = resident + memory.rss, own + memory.rss - memory.shared
            self.resident, self.own = max(self.resident, resident), max(self.own, own)
            time.sleep(0.05)
