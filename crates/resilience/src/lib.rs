//! Tower layers that keep a failing dependency from taking its callers with it.
