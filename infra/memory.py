"""Each function's memory in MB, which is its share of a processor too; docs/explanation/cost.md has the reasons."""

# Of prepare_references: the C library gives what an image took back at once, instead of keeping it for the next, whose
# parts may not fit into it (https://www.gnu.org/software/libc/manual/html_node/Memory-Allocation-Tunables.html).
ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}

MEMORY = {
    "submit": 512,
    "prepare_references": 1024,
    "generate": 1024,
    "record_failure": 512,
    "finish": 512,
    # As much as finish: it does the same, job after job.
    "sweep": 512,
    "status": 1024,
    "enhance": 1024,
    "upload": 512,
    "cancel": 512,
    "retry": 512,
    "models": 512,
    "gallery": 512,
    # Every request may wait for it, as for status.
    "authorize": 1024,
    "usage": 512,
}
