"""The figures of log models: what the formulas say on cases small enough to count by hand, and that the command says what is missing."""

import pytest

from models.training.log_figures import calibration_error, grouping_accuracy, macro_f1, main


def test_a_group_counts_only_where_it_holds_exactly_the_lines_of_its_event():
    assert grouping_accuracy("aabbc", [1, 1, 2, 2, 3]) == 1
    assert grouping_accuracy("aabbc", [1, 1, 2, 3, 3]) == pytest.approx(2 / 5)
    assert grouping_accuracy("aabbc", [1, 1, 1, 1, 3]) == pytest.approx(1 / 5)


def test_macro_f1_counts_levels_of_the_truth_and_of_the_answers():
    assert macro_f1([3, 6, 6], [3, 6, 6]) == 1
    assert macro_f1([6, 6], [6, 4]) == pytest.approx((2 / 3 + 0) / 2)


def test_calibration_error_is_the_distance_of_confidence_and_accuracy():
    assert calibration_error([(6, 0.75)] * 4, [6, 6, 6, 3]) == pytest.approx(0)
    assert calibration_error([(6, 0.9)] * 4, [6, 6, 3, 3]) == pytest.approx(0.4)


def test_without_data_the_command_says_what_it_wants(tmp_path, capsys):
    assert main(["--data", str(tmp_path)]) == 2
    assert "wanted the shared data" in capsys.readouterr().err
