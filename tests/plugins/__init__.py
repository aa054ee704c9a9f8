"""Our Ansible modules, without a host."""
