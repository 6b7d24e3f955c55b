"""The stores of an installation on AWS, behind the interfaces of `city_platform.stores`.

Import `config` for what a configuration says, which costs nothing, and `opening` for the stores.
"""
