from protos.environment import complaint


def test_known_variables_and_those_of_others_are_no_complaint() -> None:
    assert complaint({"AMULET_STATE_DIR": "x", "PATH": "y"}) is None


def test_a_misspelt_variable_is_named_with_the_one_that_was_meant() -> None:
    assert complaint({"AMULET_DATABSE_URL": "x"}) == (
        "AMULET_DATABSE_URL is not a setting of Amulet: did you mean AMULET_DATABASE_URL?"
    )


def test_the_value_of_an_unknown_variable_is_never_shown() -> None:
    assert "s3cret" not in str(complaint({"AMULET_PASSWORD": "s3cret"}))
