"""The least that Django needs to render a template and send mail. Imported by the Django and the Celery peer."""

from __future__ import annotations

import django
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template import engines
from django.template.backends.base import BaseEngine  # type: ignore[import-untyped]

import sample


def set_up(host: str, port: int) -> None:
    settings.configure(
        EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
        EMAIL_HOST=host,
        EMAIL_PORT=port,
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        USE_TZ=True,
    )
    django.setup()


class Composer:
    """Renders the sample with Django's templates, compiled once."""

    def __init__(self) -> None:
        engine: BaseEngine = engines["django"]
        # Django escapes everything unless told otherwise; that is wrong for the subject and the text part.
        self.subject = engine.from_string("{% autoescape off %}" + sample.SUBJECT + "{% endautoescape %}")
        self.text = engine.from_string("{% autoescape off %}" + sample.TEXT + "{% endautoescape %}")
        self.html = engine.from_string(sample.HTML)

    def compose(self, index: int, connection: object | None = None) -> EmailMultiAlternatives:
        fields = sample.values(index)
        message = EmailMultiAlternatives(
            subject=self.subject.render(fields),
            body=self.text.render(fields),
            from_email=f"{sample.SENDER_NAME} <{sample.SENDER}>",
            to=[sample.address(index)],
            connection=connection,
        )
        message.attach_alternative(self.html.render(fields), "text/html")
        return message
