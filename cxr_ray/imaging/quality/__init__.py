"""Quality of a decoded radiograph: orientation, exposure and burned-in text."""
