"""Audit a classifier of radiographs: whether it reads the lungs, or the source, the border and the letters of the images."""

from cxr_ray.config import run_job
from cxr_ray.config.auditing import AuditConfig


def main(config: AuditConfig) -> None:
    """Run the job; torch is imported only here, so that `--help` answers at once."""
    from cxr_ray.auditing.audit_classifier import audit_classifier

    audit_classifier(config)


if __name__ == "__main__":
    run_job(AuditConfig, main)
