"""The cloud on a laptop: emulator, provider simulators and demo."""
