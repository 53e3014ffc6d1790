"""Dataset facts as data: classes, stored values, fold borders, modality."""
