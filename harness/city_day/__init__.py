"""A city's day as a simpy model: it writes, ahead of a live run, what will happen when."""

from __future__ import annotations

from harness.city_day.city import CITIES, City, CityDevice, city_of, known_cities, load_city
from harness.city_day.day import Day, simulate
from harness.city_day.diary import Happening
from harness.city_day.life import CityLife, read_life
from harness.city_day.page import render_schedule_page
from harness.city_day.tally import HappeningFigure, ScheduleFigures
from harness.city_day.terminal import print_figures
from harness.city_day.window import Window, make_window
from harness.city_day.write import write_schedule

__all__ = [
    "CITIES",
    "City",
    "CityDevice",
    "CityLife",
    "Day",
    "Happening",
    "HappeningFigure",
    "ScheduleFigures",
    "Window",
    "city_of",
    "known_cities",
    "load_city",
    "make_window",
    "print_figures",
    "read_life",
    "render_schedule_page",
    "simulate",
    "write_schedule",
]
