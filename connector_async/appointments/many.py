"""The operations over many appointments at a time: one outcome for each input, whatever becomes of it."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Iterable

from connector_async.bulk import Bulk, bulk
from connector_async.models import Appointment, AppointmentUpdate, NewAppointment
from connector_async.retry import RetryPolicy

from .verification import Verify

DEFAULT_CONCURRENCY = 16


class ManyAppointments(ABC):
    """What an `AppointmentService` can do with many appointments.

    Each method returns a `Bulk`, an async iterable of an `Outcome` for each input, and raises what `bulk` raises.
    Rejected credentials end it ahead of time. Under a rate limit the concurrency need not be high: what is sent is
    paced however many wait.

    Each takes `concurrency`, the calls under way at a time; `ordered`, whether the outcomes come in the order of their
    inputs; `max_errors`, after how many failed or unknown ones no call is begun; and `retry` and `deadline` for each
    call, as the single operations do.
    """

    @abstractmethod
    async def get(
        self, appointment_id: str, *, retry: RetryPolicy | None = None, deadline: float | None = None
    ) -> Appointment:
        """Return one appointment."""

    @abstractmethod
    async def create(
        self,
        new: NewAppointment,
        *,
        verify: Verify | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> Appointment:
        """Create an appointment."""

    @abstractmethod
    async def delete(
        self, appointment_id: str, *, retry: RetryPolicy | None = None, deadline: float | None = None
    ) -> None:
        """Delete an appointment."""

    @abstractmethod
    async def _apply(
        self, update: AppointmentUpdate, *, read_first: bool, retry: RetryPolicy | None, deadline: float | None
    ) -> Appointment | None:
        """Change an appointment."""

    def get_many(
        self,
        appointment_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        ordered: bool = False,
        max_errors: int | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> Bulk[str, Appointment]:
        """Read appointments by their ids."""

        async def get(appointment_id: str) -> Appointment:
            return await self.get(appointment_id, retry=retry, deadline=deadline)

        return bulk(get, appointment_ids, concurrency=concurrency, ordered=ordered, max_errors=max_errors)

    def create_many(
        self,
        drafts: Iterable[NewAppointment] | AsyncIterable[NewAppointment],
        *,
        verify: Verify | None = None,
        concurrency: int = DEFAULT_CONCURRENCY,
        ordered: bool = False,
        max_errors: int | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> Bulk[NewAppointment, Appointment]:
        """Create appointments. `verify` looks for those whose answers are lost; without it they are `UNKNOWN`."""

        async def create(new: NewAppointment) -> Appointment:
            return await self.create(new, verify=verify, retry=retry, deadline=deadline)

        return bulk(create, drafts, concurrency=concurrency, ordered=ordered, max_errors=max_errors)

    def update_many(
        self,
        updates: Iterable[AppointmentUpdate] | AsyncIterable[AppointmentUpdate],
        *,
        read_first: bool = False,
        concurrency: int = DEFAULT_CONCURRENCY,
        ordered: bool = False,
        max_errors: int | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> Bulk[AppointmentUpdate, Appointment | None]:
        """Change appointments, each as `update` does; two updates of one appointment may come in any order."""

        async def apply(update: AppointmentUpdate) -> Appointment | None:
            return await self._apply(update, read_first=read_first, retry=retry, deadline=deadline)

        return bulk(apply, updates, concurrency=concurrency, ordered=ordered, max_errors=max_errors)

    def delete_many(
        self,
        appointment_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int = DEFAULT_CONCURRENCY,
        ordered: bool = False,
        max_errors: int | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> Bulk[str, None]:
        """Delete appointments by their ids."""

        async def delete(appointment_id: str) -> None:
            await self.delete(appointment_id, retry=retry, deadline=deadline)

        return bulk(delete, appointment_ids, concurrency=concurrency, ordered=ordered, max_errors=max_errors)
