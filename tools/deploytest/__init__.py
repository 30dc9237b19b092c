"""`make deploy-test`: a bare Debian root becomes a controlled site, by the playbooks alone.

The root boots under systemd-nspawn in a network of its own; Ansible reaches it over SSH as it reaches a gateway. Then the same
root boots under User-Mode Linux with a real vcan0, and scenarios run against what was deployed.
"""
