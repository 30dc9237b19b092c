"""What `make bench` needs for the real-time figures: arms, loads, and the comparison with cyclictest and a loop in pure
Python.
"""
