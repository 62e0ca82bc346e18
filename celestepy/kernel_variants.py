"""One compiled kernel in several variants, and which of them this machine uses.

A kernel that gains from wide vectors is compiled once for each instruction set, as ``_name_generic``, ``_name_avx2``
and ``_name_avx512``; the fastest that the processor runs is chosen when the package loads. The environment variable
``CELESTEPY_KERNEL`` overrides the choice for all kernels.
"""

import importlib
import os

__all__ = ["KernelVariants"]

# width of the vectors in doubles, the fastest variant first
_WIDTHS = {"avx512": 8, "avx2": 4}


class KernelVariants:
    """The variants of one kernel that work on this machine.

    Parameters
    ----------
    generic : module
        The variant that runs everywhere, ``_name_generic``, with a function ``processor_runs(width)``.

    Attributes
    ----------
    names : tuple of str
        Among ``"avx512"``, ``"avx2"`` and ``"generic"``, the fastest first; the last is always there.
    in_use : str
        Name of the variant that is used where no other is asked for.

    Raises
    ------
    ImportError
        If the environment names one that does not work here.
    """

    def __init__(self, generic):
        self._modules = {}
        for name, width in _WIDTHS.items():
            # asked before the import: even a module's start-up code may use instructions the processor lacks
            if generic.processor_runs(width):
                try:
                    self._modules[name] = importlib.import_module(generic.__name__.removesuffix("generic") + name)
                except ImportError:  # this variant was not compiled
                    continue
        self._modules["generic"] = generic
        self.names = tuple(self._modules)
        self.in_use = self.chosen()

    def chosen(self):
        """Name of the variant to use: the fastest, or what the environment says.

        Returns
        -------
        str

        Raises
        ------
        ImportError
            If the environment names one that does not work here.
        """
        name = os.environ.get("CELESTEPY_KERNEL", self.names[0])
        if name not in self._modules:
            raise ImportError(
                f"CELESTEPY_KERNEL is {name!r}, but the kernels that work here are {', '.join(self.names)}; "
                "set it to one of these or unset it"
            )
        return name

    def module(self, name=None):
        """The compiled module of a variant.

        Parameters
        ----------
        name : str, optional
            One of `names`; by default the one in use.

        Returns
        -------
        module

        Raises
        ------
        ValueError
            If it is none of them.
        """
        name = self.in_use if name is None else name
        if name not in self._modules:
            raise ValueError(f"kernel is {name!r}; those that work here are {', '.join(self.names)}")
        return self._modules[name]
