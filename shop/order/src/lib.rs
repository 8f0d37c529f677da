//! Orders, their saga and their history.
