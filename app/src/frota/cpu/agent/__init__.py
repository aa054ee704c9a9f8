"""The process of `frota cpu agent`, which runs on every host and must stay small."""
