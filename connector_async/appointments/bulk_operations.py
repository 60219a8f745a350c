"""The operations over many appointments at a time: one outcome for each input, whatever becomes of it."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Iterable

from connector_async._checks import check_iterable, check_type
from connector_async.bulk_calls import Bulk, bulk
from connector_async.exceptions import AuthenticationError
from connector_async.models import Appointment, AppointmentUpdate, NewAppointment
from connector_async.retry import RetryPolicy

from .arguments import check_options
from .verification import Verify, check_verify

DEFAULT_CONCURRENCY = 16


class ManyAppointments(ABC):
    """What an `AppointmentService` can do with many appointments.

    Each method returns a `Bulk`, an async iterable of an `Outcome` for each input, which sends nothing before the first
    one is asked for. A bad argument is raised at once; what becomes of an input, a bad one included, is its outcome.
    Rejected credentials end the whole ahead of time, since all are of one tenant: what comes after is `NOT_STARTED`.
    Under a rate limit the
    concurrency need not be high: what is sent is paced however many wait.
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
        """Read appointments by their ids.

        Args:
            appointment_ids: Which ones; taken one by one.
            concurrency: How many calls are under way at a time, at most.
            ordered: Outcomes come in the order of their inputs, rather than as they come about.
            max_errors: After so many failed or unknown outcomes no call is begun any more. `None`: however many.
            retry: The policy of each call; `None`: the service's.
            deadline: Seconds for each call; `None`: the service's, `math.inf`: none.

        Returns:
            The outcomes, each with the appointment, or with the error that `get` raised.

        Raises:
            ValueError: `concurrency`, `max_errors` or `deadline` is not above zero.
            TypeError: An argument is of another type; `appointment_ids` is a text.
        """
        check_iterable("appointment_ids", appointment_ids)
        check_options(retry, deadline)

        async def get(appointment_id: str) -> Appointment:
            return await self.get(appointment_id, retry=retry, deadline=deadline)

        return bulk(
            get,
            appointment_ids,
            concurrency=concurrency,
            ordered=ordered,
            max_errors=max_errors,
            ends_on=AuthenticationError,
        )

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
        """Create appointments.

        Args:
            drafts: What to create; taken one by one.
            verify: Looks whether a create whose answer was lost has happened, such as `found_by_preview()`. `None`: its
                outcome is `UNKNOWN`.
            concurrency: How many calls are under way at a time, at most.
            ordered: Outcomes come in the order of their inputs, rather than as they come about.
            max_errors: After so many failed or unknown outcomes no call is begun any more. `None`: however many.
            retry: The policy of each call; `None`: the service's.
            deadline: Seconds for each call; `None`: the service's, `math.inf`: none.

        Returns:
            The outcomes, each with the appointment and its id, or with the error that `create` raised. After a
            `DecodingError` it is `UNKNOWN`: it was created, with the error's `appointment_id` if the response has one.

        Raises:
            ValueError: `concurrency`, `max_errors` or `deadline` is not above zero.
            TypeError: An argument is of another type; `verify` is a class and no instance.
        """
        check_iterable("drafts", drafts)
        if verify is not None:
            check_verify(verify)
        check_options(retry, deadline)

        async def create(new: NewAppointment) -> Appointment:
            return await self.create(new, verify=verify, retry=retry, deadline=deadline)

        return bulk(
            create,
            drafts,
            concurrency=concurrency,
            ordered=ordered,
            max_errors=max_errors,
            ends_on=AuthenticationError,
        )

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
        """Change appointments, each as `update` does; two updates of one appointment may come in any order.

        Args:
            updates: What to change in which; taken one by one.
            read_first: Each appointment is got first, and what it has is sent along; see `update`.
            concurrency: How many calls are under way at a time, at most.
            ordered: Outcomes come in the order of their inputs, rather than as they come about.
            max_errors: After so many failed or unknown outcomes no call is begun any more. `None`: however many.
            retry: The policy of each call; `None`: the service's.
            deadline: Seconds for each call; `None`: the service's, `math.inf`: none.

        Returns:
            The outcomes, each with the appointment as the server then has it (`None` when its answer holds none), or
            with the error that `update` raised.

        Raises:
            ValueError: `concurrency`, `max_errors` or `deadline` is not above zero.
            TypeError: An argument is of another type.
        """
        check_iterable("updates", updates)
        check_type("read_first", read_first, bool)
        check_options(retry, deadline)

        async def apply(update: AppointmentUpdate) -> Appointment | None:
            return await self._apply(update, read_first=read_first, retry=retry, deadline=deadline)

        return bulk(
            apply,
            updates,
            concurrency=concurrency,
            ordered=ordered,
            max_errors=max_errors,
            ends_on=AuthenticationError,
        )

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
        """Delete appointments by their ids.

        Args:
            appointment_ids: Which ones; taken one by one.
            concurrency: How many calls are under way at a time, at most.
            ordered: Outcomes come in the order of their inputs, rather than as they come about.
            max_errors: After so many failed or unknown outcomes no call is begun any more. `None`: however many.
            retry: The policy of each call; `None`: the service's.
            deadline: Seconds for each call; `None`: the service's, `math.inf`: none.

        Returns:
            The outcomes, without a result, or with the error that `delete` raised.

        Raises:
            ValueError: `concurrency`, `max_errors` or `deadline` is not above zero.
            TypeError: An argument is of another type; `appointment_ids` is a text.
        """
        check_iterable("appointment_ids", appointment_ids)
        check_options(retry, deadline)

        async def delete(appointment_id: str) -> None:
            await self.delete(appointment_id, retry=retry, deadline=deadline)

        return bulk(
            delete,
            appointment_ids,
            concurrency=concurrency,
            ordered=ordered,
            max_errors=max_errors,
            ends_on=AuthenticationError,
        )
