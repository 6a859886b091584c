"""Peer: Django's EmailMultiAlternatives, rendered with Django's templates, all on one open connection."""

from __future__ import annotations

import time

import django_settings
from django.core.mail import get_connection
from peer import arguments, own_cpu_seconds, print_run


def main() -> None:
    options = arguments(__doc__)
    django_settings.set_up(options.host, options.port)
    composer = django_settings.Composer()
    cpu_before, started = own_cpu_seconds(), time.perf_counter()
    with get_connection() as connection:
        for index in range(options.count):
            composer.compose(index, connection).send()
    print_run(options.count, time.perf_counter() - started, own_cpu_seconds() - cpu_before)


if __name__ == "__main__":
    main()
