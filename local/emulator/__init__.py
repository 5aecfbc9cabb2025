"""The emulator's process: MiniStack, changed where it is unlike AWS, and open only to its own cloud."""
