//! Chaos Mesh: its kinds act on the pods that they selected when they were injected.
