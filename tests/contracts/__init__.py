"""What the layers promise each other: roles, playbooks, templates, application and documents say the same. No host."""
