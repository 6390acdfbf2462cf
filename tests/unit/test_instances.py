"""The catalogue of instance types."""

import pytest

from sim.errors import SimError
from sim.instances import instance, names


def test_a_type_carries_what_its_cloud_advertises():
    kind = instance("m6i.xlarge")
    assert (kind.cloud, kind.cpu_m, kind.memory_b) == ("aws", 4000, 16 * 1024**3)
    assert (kind.enis, kind.ipv4_per_eni, kind.arch) == (4, 15, "amd64")


def test_graviton_types_are_arm():
    assert instance("c6g.large").arch == "arm64"


def test_prices_follow_the_region_where_the_catalogue_has_one():
    kind = instance("Standard_B12ms")
    assert kind.price_usd_per_hour("westeurope") == 0.576
    assert kind.price_usd_per_hour("eastus") == 0.499


def test_the_first_region_stands_in_for_one_without_prices():
    kind = instance("m6i.xlarge")
    assert not kind.has_price("eu-central-1")
    assert kind.price_usd_per_hour("eu-central-1") == kind.price_usd_per_hour("us-east-1") == 0.192


def test_an_unknown_type_is_answered_with_the_nearest():
    with pytest.raises(SimError) as error:
        instance("m6i.xlrage")
    assert str(error.value) == "no instance type 'm6i.xlrage'. Did you mean 'm6i.xlarge'?"


def test_every_type_has_a_size_and_a_price():
    assert len(names()) == 157 + 152 + 145  # AWS, GCP and Azure rows of the file
    assert all(instance(n).cpu_m and instance(n).memory_b for n in names())
    assert all(instance(n).price_usd_per_hour() > 0 for n in names())
