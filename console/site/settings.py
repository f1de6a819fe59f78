"""Django's settings, built from the typed object of `configuration` and from nothing else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.utils.translation import gettext_lazy as _

from console.site import backends, configuration, logs, navigation

AMULET: Final = configuration.load()
_CONSOLE: Final = Path(__file__).resolve().parent.parent

# Empty where there is no file: Django then refuses at first use, and the processes at their start.
SECRET_KEY = configuration.read_secret(AMULET.secret_key_file).decode() if AMULET.secret_key_file.is_file() else ""
DEBUG = AMULET.console_debug
ALLOWED_HOSTS = list(AMULET.hosts)
ROOT_URLCONF = "console.site.urls"
AUTH_USER_MODEL = "staff.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "console.site.apps.ConsoleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "axes",
    "csp",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    # Ours, from the ground floor up.
    "console.pulse",
    "console.staff",
    "console.audit",
    "console.vault",
    "console.torchserve",
    "console.clients",
    "console.registry",
    "console.predictions",
    "console.review",
    "console.datasets",
    "console.retraining",
    "console.sheets",
    "console.rollout",
    "console.drift",
    "console.ingest",
    "console.privacy",
    "console.webhooks",
    "console.idempotency",
    "console.retention",
    "console.tryit",
    "console.site",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "console.site.kept_nowhere.KeptNowhere",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "console.staff.long_calls.LongAnswers",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "console.site.problem.RefusalsAsPages",
    "axes.middleware.AxesMiddleware",
    "console.idempotency.middleware.IdempotencyKeys",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [_CONSOLE / "site" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Data and queues: embedded by default, servers by one variable each.
DATABASES = {"default": backends.database(AMULET)}
CACHES = {"default": backends.cache(AMULET)}
CELERY_BROKER_URL, CELERY_BROKER_TRANSPORT_OPTIONS = backends.broker(AMULET)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
# A task that dies with its worker is handed out again: every task of ours may run twice.
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# Threads: one process of 100 MB instead of three, and what could hang or eat memory runs in limited children.
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_CONCURRENCY = 2
CELERY_WORKER_SEND_TASK_EVENTS = False
# Nothing of ours is told to a worker while it runs. The mailbox for that is named after the machine, and RabbitMQ
# gives it to one worker: a second one on the machine would never start.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
# Hours of work have a worker of their own, which reads this queue and no other.
CELERY_TASK_ROUTES = {"console.retraining.tasks.train": {"queue": "training"}}
CELERY_BEAT_SCHEDULER = "console.beat:Scheduler"
CELERY_BEAT_SCHEDULE_FILENAME = str(AMULET.data_dir / "beat-schedule")
CELERY_BEAT_SCHEDULE: dict[str, Any] = {
    "registry: find work": {"task": "console.registry.tasks.find_work", "schedule": 10.0},
    "registry: discard abandoned uploads": {
        "task": "console.registry.tasks.discard_abandoned_uploads",
        "schedule": timedelta(hours=1),
    },
    "privacy: go on with erasures": {"task": "console.privacy.tasks.find_work", "schedule": 20.0},
    "privacy: tell of limits": {"task": "console.privacy.tasks.escalate", "schedule": timedelta(hours=1)},
    "privacy: look at what was refused": {
        "task": "console.privacy.tasks.erase_refused",
        "schedule": timedelta(hours=1),
    },
    "drift: fold": {"task": "console.drift.tasks.fold", "schedule": 30.0},
    "drift: watch": {"task": "console.drift.tasks.watch", "schedule": timedelta(minutes=15)},
    "datasets: propose": {"task": "console.datasets.tasks.propose", "schedule": timedelta(minutes=10)},
    "retraining: find work": {"task": "console.retraining.tasks.find_work", "schedule": 30.0},
    "rollout: watch": {"task": "console.rollout.tasks.watch", "schedule": 10.0},
    "webhooks: deliver": {"task": "console.webhooks.tasks.deliver", "schedule": 10.0},
    # Every rule has its own time; this only looks.
    "retention: apply": {"task": "console.retention.tasks.apply", "schedule": timedelta(minutes=5)},
    "vault: tidy": {"task": "console.vault.tasks.tidy", "schedule": timedelta(minutes=10)},
    "vault: go on with a rotation": {"task": "console.vault.tasks.rotate", "schedule": timedelta(minutes=10)},
}

# Who knows which predictions the audit log must not tell a reviewer of yet: the log itself knows of no predictions.
AUDIT_WITHHELD_FROM = "console.predictions.queries.withheld_from"
# Who knows for what people's data is used and how long it is kept, which whoever asks for theirs is told.
PROCESSING_RECORD = "console.retention.record.of_people"

# People.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
OTP_TOTP_ISSUER = "Amulet"
# A code opens one step of 30 s before and after its own, always. A window that moves along with the last code
# (RFC 6238, section 6, for tokens that keep no exact time; telephones do) refuses whoever typed early once and is
# late the next time.
OTP_TOTP_SYNC = False
# Per name and address together: five wrong guesses by a stranger never lock out the person herself.
AXES_FAILURE_LIMIT = 5
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_ON_SUCCESS = True
AXES_HANDLER = "console.staff.lockout.Attempts"
AXES_CLIENT_IP_CALLABLE = "console.staff.lockout.client_address"
AXES_LOCKOUT_CALLABLE = "console.staff.lockout.answer"
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
AXES_DISABLE_ACCESS_LOG = True  # the audit trail says who came in
# Nothing that was typed is kept with an attempt but the name that it counts for.
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "code"]

# Mail, where a server is named.
_MAIL = AMULET.mail()
EMAIL_HOST, EMAIL_PORT, EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _MAIL.host, _MAIL.port, _MAIL.user, _MAIL.password
EMAIL_USE_SSL, EMAIL_USE_TLS = _MAIL.tls, _MAIL.starttls
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = AMULET.mail_from

# Transport. Plain HTTP only where nobody but this machine can connect.
SECURE_SSL_REDIRECT = AMULET.behind_tls
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$", r"^internal/"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if AMULET.behind_tls else None
SECURE_HSTS_SECONDS = 31_536_000 if AMULET.behind_tls else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = AMULET.behind_tls
SECURE_HSTS_PRELOAD = AMULET.behind_tls
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = AMULET.behind_tls
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_ENGINE = "console.staff.sessions"
SESSION_COOKIE_AGE = 12 * 3600
# Named after the port: two stacks on one machine share the cookies of 127.0.0.1.
SESSION_COOKIE_NAME = f"amulet_session_{AMULET.console_port}"
CSRF_COOKIE_NAME = f"amulet_csrf_{AMULET.console_port}"
CSRF_FAILURE_VIEW = "console.site.problem.form_over"
CSRF_TRUSTED_ORIGINS = [f"https://{name}" for name in AMULET.hosts] if AMULET.behind_tls else []
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, UNSAFE_EVAL],  # the admin's Alpine.js evaluates its attributes
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    }
}
# Uploads are streamed in pieces; nothing else that comes in is large.
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 2**20
FILE_UPLOAD_HANDLERS = [
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "console.site.unnamed.UnnamedFile",
]

# Languages.
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("th", "ไทย")]
LOCALE_PATHS = [_CONSOLE / "site" / "locale"]
FORMAT_MODULE_PATH = ["console.site.formats"]
TIME_ZONE = "Asia/Bangkok"
USE_I18N = USE_TZ = True

# Static files: collected once, named by content, served by the process itself.
STATIC_URL = "/static/"
STATIC_ROOT = AMULET.data_dir / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "console.staff.authentication.TokenAuthentication",
        "console.staff.authentication.VerifiedSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["console.site.bodies.JSONParser"],
    "DEFAULT_FILTER_BACKENDS": ["console.filtering.KnownFilters"],
    "DEFAULT_PAGINATION_CLASS": "console.paging.Pages",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "console.site.problem.answer",
    "UNAUTHENTICATED_USER": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Amulet console",
    "DESCRIPTION": "Model versions, clients, reviews and the audit trail. Errors are RFC 9457 problems.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",  # the default one
        "console.idempotency.schema.add_header",
        "console.site.openapi.close_requests",
        "console.site.openapi.add_problems",
        "console.site.openapi.add_scopes",
    ],
    "ENUM_NAME_OVERRIDES": {
        "GuardrailEnum": "console.rollout.models.Rule",
        "ExperimentOutcomeEnum": "console.rollout.models.Outcome",
        "DecidedEnum": "console.review.models.Decided",
        "DriftOutcomeEnum": "console.drift.models.Outcome",
        "VersionStateEnum": "console.registry.models.State",
        "TrainingJobStateEnum": "console.retraining.models.State",
        "KindEnum": "console.privacy.models.Kind",
        "PrivacyRequestStateEnum": "console.privacy.models.State",
        "ReviewItemStateEnum": "console.review.models.State",
        "SheetKindEnum": "console.sheets.models.Kind",
        "SheetVerdictEnum": "console.sheets.models.Verdict",
        "VerdictEnum": "console.predictions.api.VERDICTS",
    },
}

UNFOLD = navigation.unfold(title=_("Amulet console"))
LOGGING_CONFIG = "logging.config.dictConfig"
LOGGING = logs.configuration(level=AMULET.log_level, form=AMULET.log_format)
