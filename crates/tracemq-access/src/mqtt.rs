//! Who may connect by MQTT, and which topics they may use.
