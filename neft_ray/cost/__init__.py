"""What a sweep costs: its speed as measured, its time, money and disk, and whether that fits."""
