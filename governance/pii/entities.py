"""The types of personal data that a scan knows, spelled as in the labelled data and Presidio."""

from enum import StrEnum


class Entity(StrEnum):
    """A type of finding."""

    CREDIT_CARD = "CREDIT_CARD"
    DATE_TIME = "DATE_TIME"
    """A date of birth; other dates are not looked for."""
    EMAIL_ADDRESS = "EMAIL_ADDRESS"
    IBAN_CODE = "IBAN_CODE"
    IP_ADDRESS = "IP_ADDRESS"
    PERSON = "PERSON"
    PHONE_NUMBER = "PHONE_NUMBER"
    SECRET = "SECRET"  # noqa: S105 - the name of a type, not one
    STREET_ADDRESS = "STREET_ADDRESS"
    US_DRIVER_LICENSE = "US_DRIVER_LICENSE"
    US_PASSPORT = "US_PASSPORT"
    US_SSN = "US_SSN"
