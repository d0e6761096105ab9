"""Parents with a table, abstract parents, and proxies."""

import pytest

from apps.keys.errors import AlteredValueError
from tests.fields import stored
from tests.fields.library.models import Guest, Loan, Reader, Student
from tests.fields.refusal import refused

pytestmark = pytest.mark.django_db

EMAIL = "s@example.com"


@pytest.fixture
def student(db: None) -> Student:
    """A reader with a number."""
    return Student.objects.create(email=EMAIL, name="Sam", notes="n", number=10**30)


def test_a_child_table(student: Student) -> None:
    found = Student.objects.get(email="S@example.com", number=10**30)
    assert (found, found.name, found.number) == (student, "Sam", 10**30)
    assert Reader.objects.get(email=EMAIL).student == student
    assert Student.objects.values_list("email", "number").get() == (EMAIL, 10**30)
    assert Student.objects.only("number").get().email == EMAIL


def test_a_child_saves_its_parent(student: Student) -> None:
    student.email, student.number = "t@example.com", 5
    student.save()
    assert Reader.objects.get(email="t@example.com").pk == student.pk
    assert Student.objects.update(name="Max", number=6) == 1
    assert Student.objects.get(name="Max", number=6, email="t@example.com") == student
    student.save(update_fields=["email"])
    student.delete()
    assert not Reader.objects.exists()


def test_a_child_of_a_row_that_is_there(ada: Reader) -> None:
    student = Student(reader_ptr=ada, number=1)
    student.save_base(raw=True)
    assert Student.objects.get(number=1).email == ada.email


def test_a_childs_values_are_bound_to_the_table_they_are_in(student: Student) -> None:
    assert Student._meta.get_field("email").place == "library_reader.email"
    assert Student._meta.get_field("number").place == "library_student.number"


def test_sorting_a_child_by_its_parents_field_is_refused(student: Student) -> None:
    with refused(r"in Python"):
        list(Student.objects.order_by("email"))
    with refused(r"in Python"):
        list(Student.objects.values("email").order_by("-email"))
    with refused(r"Select the primary key"):
        list(Student.objects.values("name").distinct())
    assert list(Student.objects.distinct()) == [student]
    assert Student.objects.values_list("pk", "name", "number").distinct().get()[1] == "Sam"


def test_a_proxy(ada: Reader) -> None:
    guest = Guest.objects.get(email="ADA@example.com")
    guest.name = "Guest"
    guest.save()
    assert Reader.objects.get(name="Guest").email == ada.email
    made = Guest.objects.create(email="g@example.com", name="G")
    assert Reader.objects.get(email="G@example.com").pk == made.pk
    assert list(Guest.objects.filter(pk=made.pk).union(Reader.objects.filter(pk=made.pk)))
    assert Guest._meta.indexes == []


def test_an_abstract_parent(ada: Reader) -> None:
    loan = Loan.objects.create(reader=ada, book="Emma", shelf="a", place="b", stamp="stamped")
    assert Loan.objects.get(stamp="stamped") == loan
    assert Loan._meta.get_field("stamp").place == "library_loan.stamp"
    assert "stamped" not in repr(stored.read(loan, "stamp"))


def test_a_childs_value_cannot_be_read_in_its_parent(student: Student) -> None:
    number = stored.read(student, "number")
    assert number
    stored.write(student, "name", number)
    with pytest.raises(AlteredValueError):
        Reader.objects.get(pk=student.pk)
