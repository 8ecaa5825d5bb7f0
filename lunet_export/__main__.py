"""`python -m lunet_export` is the program `lunet-export`."""

if __name__ == "__main__":
    from lunet_cli.start import main

    main()
