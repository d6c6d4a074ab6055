#!/usr/bin/env python3
"""What the pipelines must write, computed the slow and obvious way, one row at a time.

usage: reference.py donors|projects|inspections DATA_DIR OUT.ndjson

Compares OUT.ndjson with the documents that follow from DATA_DIR: members, their order, their values.
Prints the first differences and exits 1 if there are any. Standard library only, and nothing shared
with the program: an independent statement of what is right.
"""
import csv
import gzip
import itertools
import json
import os
import sys
from datetime import datetime

csv.field_size_limit(1 << 30)

FLOATS = {
    "school_latitude", "school_longitude", "vendor_shipping_charges", "sales_tax",
    "payment_processing_charges", "fulfillment_labor_materials",
    "total_price_excluding_optional_support", "total_price_including_optional_support",
    "total_donations", "donation_to_project", "donation_optional_support", "donation_total",
    "item_unit_price", "latitude", "longitude",
}
INTS = {"students_reached", "num_donors", "item_quantity", "score"}
PROJECTS = """projectid teacher_acctid schoolid school_ncesid school_latitude school_longitude
    school_city school_state school_zip school_metro school_district school_county school_charter
    school_magnet school_year_round school_nlns school_kipp school_charter_ready_promise
    teacher_prefix teacher_teach_for_america teacher_ny_teaching_fellow primary_focus_subject
    primary_focus_area secondary_focus_subject secondary_focus_area resource_type poverty_level
    grade_level vendor_shipping_charges sales_tax payment_processing_charges
    fulfillment_labor_materials total_price_excluding_optional_support
    total_price_including_optional_support students_reached total_donations num_donors
    eligible_double_your_impact_match eligible_almost_home_match funding_status date_posted
    date_completed date_thank_you_packet_mailed date_expiration""".split()
DONATIONS = """donationid projectid donor_acctid cartid donor_city donor_state donor_zip
    is_teacher_acct donation_timestamp donation_to_project donation_optional_support donation_total
    donation_included_optional_support payment_method payment_included_acct_credit
    payment_included_campaign_gift_card payment_included_web_purchased_gift_card
    payment_was_promo_matched is_teacher_referred giving_page_id giving_page_type for_honoree
    thank_you_packet_mailed""".split()
RESOURCES = """resourceid projectid vendorid vendor_name item_name item_number item_unit_price
    item_quantity""".split()
PROJECT_DATES = ["date_posted", "date_completed", "date_thank_you_packet_mailed", "date_expiration"]


def records(path, columns=None, encoding="utf-8", escape=None):
    """The rows of a CSV as dicts; without `columns` the first line names them."""
    with gzip.open(path, "rt", encoding=encoding, newline="") as text:
        reader = csv.reader(text, escapechar=escape)
        columns = columns or [name.strip(" ").removeprefix("_") for name in next(reader)]
        for fields in reader:
            if len(fields) != len(columns):
                raise ValueError(f"{path}: {len(fields)} fields in line {reader.line_num}")
            yield {name: value(name, field) for name, field in zip(columns, fields)}


def value(name, field):
    if field == "":
        return None
    return float(field) if name in FLOATS else int(field) if name in INTS else field


def date(text, *formats):
    """ISO 8601 with 0, 3 or 6 fraction digits, the shortest that is exact."""
    if text is None:
        return None
    for form in formats or ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"):
        try:
            at = datetime.strptime(text, form)
        except ValueError:
            continue
        if at.microsecond % 1000:
            return at.isoformat(timespec="microseconds")
        return at.isoformat(timespec="milliseconds" if at.microsecond else "seconds")
    raise ValueError(f"no format fits {text!r}")


def locate(row, latitude, longitude, into):
    """Two columns become one, at the end of the row."""
    point = [row.pop(longitude), row.pop(latitude)]
    row[into] = None if None in point else point


def group(rows, key, unwrap):
    """key -> column -> its values in file order."""
    groups = {}
    for row in rows:
        columns = groups.setdefault(row.pop(key), {name: [] for name in row})
        for name, one in row.items():
            columns[name].append(one)
    if unwrap:
        for columns in groups.values():
            for name, several in columns.items():
                if len(several) == 1:
                    columns[name] = several[0]
    return groups


def donors(folder):
    def dump(name, columns):
        return records(os.path.join(folder, f"opendata_{name}000.gz"), columns, escape="\\")

    resources = group(dump("resources", RESOURCES), "projectid", unwrap=True)
    projects = {}
    for row in dump("projects", PROJECTS):
        key = row.pop("projectid")
        if key in projects:
            raise ValueError(f"project {key} twice")
        project = {"project_" + name: one for name, one in row.items()}
        for name, several in resources.get(key, {}).items():
            project[name if name == "resourceid" else "resource_" + name] = several
        projects[key] = project
    for row in dump("donations", DONATIONS):
        row.update(projects.get(row["projectid"], {}))
        for name in ["donation_timestamp", *("project_" + name for name in PROJECT_DATES)]:
            if name in row:
                row[name] = date(row[name])
        if "project_school_latitude" in row:
            locate(row, "project_school_latitude", "project_school_longitude", "project_location")
        yield row


def projects(folder):
    path = os.path.join(folder, "donorschoose", "opendata_projects000_20000.gz")
    for row in records(path, escape="\\"):
        for name in PROJECT_DATES:
            row[name] = date(row[name])
        locate(row, "school_latitude", "school_longitude", "school_location")
        yield row


def inspections(folder):
    def table(name, encoding="utf-8"):
        return records(os.path.join(folder, "sf-inspections", name + ".csv.gz"), encoding=encoding)

    def dated(name, prefix):
        for row in table(name):
            row["date"] = date(row["date"], "%Y%m%d")
            yield {n if n == "business_id" else prefix + n: one for n, one in row.items()}

    inspected = group(dated("inspections", "inspection_"), "business_id", unwrap=False)
    violated = group(dated("violations", "violation_"), "business_id", unwrap=False)
    for row in table("businesses", "latin-1"):
        row.update(inspected.get(row["business_id"], {}))
        row.update(violated.get(row["business_id"], {}))
        locate(row, "latitude", "longitude", "location")
        yield row


def same(want, got):
    """Equal, booleans and numbers told apart (Python takes True for 1)."""
    return json.dumps(want) == json.dumps(got) or (
        want == got and isinstance(want, bool) == isinstance(got, bool)
    )


def main():
    kind, folder, out = sys.argv[1:]
    wanted = {"donors": donors, "projects": projects, "inspections": inspections}[kind](folder)
    number = differences = 0
    with open(out, encoding="utf-8", newline="\n") as lines:
        for number, (row, line) in enumerate(itertools.zip_longest(wanted, lines), 1):
            want = row and {name: one for name, one in row.items() if one is not None}
            got = line and json.loads(line)
            if want and got and list(want.items()) == list(got.items()):
                continue
            differences += 1
            if differences > 3:
                continue
            want, got = want or {}, got or {}
            print(f"document {number}:")
            if list(want) != list(got):
                pairs = itertools.zip_longest(want, got)
                print("  member: want {!r}, got {!r}".format(*next(p for p in pairs if p[0] != p[1])))
            for name in want:
                if name in got and not same(want[name], got[name]):
                    print(f"  {name}: want {want[name]!r}, got {got[name]!r}")
    print(f"{number} documents, {differences} differ")
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
