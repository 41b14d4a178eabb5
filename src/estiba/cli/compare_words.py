"""The words of `compare`'s reports, in English and Spanish, and how its figures are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from estiba.engine.units import human_size

LANGUAGES = ("en", "es")

_ENGLISH: dict[str, Any] = {
    "title": "Containers and virtual machines, measured",
    "subject": "The image {image}, with the same small program on it, on every rung from the host's kernel to a machine whose every "
    "part is emulated.",
    "rungs": {
        "container": ("container", "the host's kernel, shared"),
        "para": ("para", "a guest kernel that knows it is a guest"),
        "partial": ("partial", "a guest on hardware that is virtual in part"),
        "full": ("full", "a guest on a machine whose every part is emulated"),
        "docker": ("docker", "a container of another engine"),
        "podman": ("podman", "a container of another engine"),
    },
    "metrics": {
        "disk": ("Bytes on disk", "what the rung keeps to run the image, shared by all that run it"),
        "engine": ("Engine on disk", "its own programs, QEMU among them, once for all images"),
        "start-cold": ("Time to the first instruction, cold", "the image's files are not in memory"),
        "start": ("Time to the first instruction", "from the command to the program's first byte of output"),
        "end": ("Time to the end", "from the command until it has returned"),
        "memory": ("Memory at rest", "of all processes that stay for it; what is shared counts by its share"),
        "processor": ("Processor", "arithmetic, a table in memory and branches: rounds in a second"),
        "system-call": ("System call", "the cheapest one"),
        "process": ("Process creation", "make, execute, end and wait for a process"),
        "disk-write": ("Disk, written in sequence", "in blocks of 1 MiB, brought to the disk"),
        "disk-read": ("Disk, read in sequence", "in blocks of 1 MiB, not from the guest's memory"),
        "disk-random-write": ("Disk, one page written at random", "4 KiB, brought to the disk each time"),
        "disk-random-read": ("Disk, one page read at random", "4 KiB"),
        "network-speed": ("Network, throughput", "over the loopback interface of the rung"),
        "network-delay": ("Network, round trip", "one byte there and back over the loopback interface"),
    },
    "claims": {
        "lighter": "Containers weigh much less.",
        "at-once": "Containers start almost at once.",
        "faster": "Containers run much faster.",
    },
    "claims-title": "What is taught, and what was measured",
    "claim": "{metric}: {rung} takes {ratio} times as much as the container",
    "claim-slower": "{metric}: the container does {ratio} times as much as {rung}",
    "claim-less": "{metric}: no: {rung} does better, the container's is {ratio} times worse",
    "claim-same": "{metric}: what was measured of {rung} and of the container overlaps: it says nothing",
    "no-claims": "No virtual machine ran here, so nothing can be said of containers beside them.",
    "less": "less is better",
    "more": "more is better",
    "rung": "rung",
    "median": "median",
    "interval": "95 % interval",
    "ratio": "beside the container",
    "not-here": "Not measured here",
    "how": "How it was measured",
    "how-text": "Each command is what a user types, timed from outside: {repeat} rounds, every round in another order, medians with the "
    "interval that needs no assumption about how they are spread. The figures from inside are means of a fifth of a second each, by "
    "the rung's own clock. Bars begin at zero.",
    "machine": "Machine",
    "processors": "{count} processors, {memory} of memory, Linux {kernel}",
    "started": "Begun {time}",
    "carried": "carried by",
    "charts": "One by one",
    "all": "All figures",
}

_SPANISH: dict[str, Any] = {
    "title": "Contenedores y máquinas virtuales, medidos",
    "subject": "La imagen {image}, con el mismo programa pequeño encima, en cada peldaño: desde el núcleo del anfitrión hasta una "
    "máquina de la que se emula cada parte.",
    "rungs": {
        "container": ("container", "el núcleo del anfitrión, compartido"),
        "para": ("para", "un núcleo invitado que sabe que lo es"),
        "partial": ("partial", "un invitado sobre un hardware virtual en parte"),
        "full": ("full", "un invitado sobre una máquina emulada por completo"),
        "docker": ("docker", "un contenedor de otro motor"),
        "podman": ("podman", "un contenedor de otro motor"),
    },
    "metrics": {
        "disk": ("Bytes en disco", "lo que el peldaño guarda para ejecutar la imagen, compartido por todos los que la ejecutan"),
        "engine": ("Motor en disco", "sus propios programas, QEMU entre ellos, una vez para todas las imágenes"),
        "start-cold": ("Tiempo hasta la primera instrucción, en frío", "los archivos de la imagen no están en memoria"),
        "start": ("Tiempo hasta la primera instrucción", "desde la orden hasta el primer byte que escribe el programa"),
        "end": ("Tiempo hasta el final", "desde la orden hasta que ha vuelto"),
        "memory": ("Memoria en reposo", "de todos los procesos que quedan por él; lo compartido cuenta por su parte"),
        "processor": ("Procesador", "aritmética, una tabla en memoria y saltos: vueltas por segundo"),
        "system-call": ("Llamada al sistema", "la más barata"),
        "process": ("Creación de procesos", "crear, ejecutar, terminar y esperar un proceso"),
        "disk-write": ("Disco, escritura secuencial", "en bloques de 1 MiB, llevados al disco"),
        "disk-read": ("Disco, lectura secuencial", "en bloques de 1 MiB, no de la memoria del invitado"),
        "disk-random-write": ("Disco, una página escrita al azar", "4 KiB, llevados al disco cada vez"),
        "disk-random-read": ("Disco, una página leída al azar", "4 KiB"),
        "network-speed": ("Red, caudal", "por la interfaz local del peldaño"),
        "network-delay": ("Red, ida y vuelta", "un byte de ida y vuelta por la interfaz local"),
    },
    "claims": {
        "lighter": "Los contenedores pesan mucho menos.",
        "at-once": "Los contenedores arrancan casi al instante.",
        "faster": "Los contenedores se ejecutan mucho más rápido.",
    },
    "claims-title": "Lo que se enseña y lo que se midió",
    "claim": "{metric}: {rung} necesita {ratio} veces lo que el contenedor",
    "claim-slower": "{metric}: el contenedor hace {ratio} veces lo que {rung}",
    "claim-less": "{metric}: no: {rung} es mejor, lo del contenedor es {ratio} veces peor",
    "claim-same": "{metric}: lo medido de {rung} y del contenedor se solapa: no dice nada",
    "no-claims": "Aquí no funcionó ninguna máquina virtual, así que nada puede decirse de los contenedores frente a ellas.",
    "less": "menos es mejor",
    "more": "más es mejor",
    "rung": "peldaño",
    "median": "mediana",
    "interval": "intervalo del 95 %",
    "ratio": "frente al contenedor",
    "not-here": "No medido aquí",
    "how": "Cómo se midió",
    "how-text": "Cada orden es la que teclea un usuario, cronometrada desde fuera: {repeat} rondas, cada una en otro orden; medianas con "
    "el intervalo que no supone nada sobre su reparto. Las cifras tomadas desde dentro son medias de un quinto de segundo cada una, "
    "según el reloj del propio peldaño. Las barras empiezan en cero.",
    "machine": "Máquina",
    "processors": "{count} procesadores, {memory} de memoria, Linux {kernel}",
    "started": "Comenzado {time}",
    "carried": "sobre",
    "charts": "Una por una",
    "all": "Todas las cifras",
}

_TABLES: Mapping[str, dict[str, Any]] = {"en": _ENGLISH, "es": _SPANISH}


def words(language: str) -> dict[str, Any]:
    """The words of a language."""
    return _TABLES[language]


# Larger units of time, each a thousand of the one before.
_TIMES = ("ns", "µs", "ms", "s")


def shown(value: float, unit: str, language: str = "en") -> str:
    """A value with its unit, three significant digits."""
    unit = "µs" if unit == "us" else unit
    if unit == "B":
        text = human_size(int(value))
        at = next(i for i, c in enumerate(text) if c.isalpha())
        text, unit = text[:at], text[at:]
    else:
        while unit in _TIMES[:-1] and value >= 1000:
            value, unit = value / 1000, _TIMES[_TIMES.index(unit) + 1]
        text = digits(value)
    return f"{text.replace('.', ',') if language == 'es' else text} {unit}"


def digits(value: float) -> str:
    """Three significant digits, never an exponent."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(value: float, language: str = "en") -> str:
    """A ratio, as `3.1`."""
    text = f"{value:.0f}" if value >= 10 else f"{value:.2g}" if value < 0.1 else f"{value:.1f}"
    return text.replace(".", ",") if language == "es" else text
