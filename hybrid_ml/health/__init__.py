"""Problems of the service, each reported once when it begins and once when it is over."""
