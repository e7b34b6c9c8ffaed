"""The emulators themselves: real clients work with them, and they keep the real rules."""
